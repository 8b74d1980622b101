"""What is printed and false, one file an erratum."""
