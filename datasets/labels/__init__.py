"""Labels of pictures: float vectors with a name for each value, from what lies beside pictures."""
