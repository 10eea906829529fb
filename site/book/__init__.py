"""The site's parts: executing notebooks, generating pages, extending Sphinx, and checking the result."""
