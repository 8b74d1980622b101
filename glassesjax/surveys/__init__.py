"""What joins studies and claims, and measures nothing itself."""
