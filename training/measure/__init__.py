"""Measuring models: their images, their speed and their memory."""
