"""Looking at prepared data sets: inspect, verify, extract, compare; without TensorFlow."""
