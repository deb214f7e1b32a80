"""Know what is published about the pre-training compute of base models."""
