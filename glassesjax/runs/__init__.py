"""What a run is, whatever its study."""
