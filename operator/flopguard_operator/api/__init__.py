"""The API types: pydantic models, and the CRDs that are generated from them."""
