"""Surveys: runs made of several studies' runs, without measurements of their own."""
