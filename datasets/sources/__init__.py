"""Where images come from: folders, archives, and the other forms data sets are found in."""
