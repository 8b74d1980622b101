"""What pages share: figures' style, pieces of HTML, numbers and orders as text, one style sheet."""
