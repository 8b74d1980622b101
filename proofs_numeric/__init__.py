"""Numerical checks of theorems: one file for each statement, with adversarial counter-examples."""
