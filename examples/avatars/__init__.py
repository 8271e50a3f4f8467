"""Avatars: upload a photograph, get an answer at once, see the thumbnails when a worker has made them."""
