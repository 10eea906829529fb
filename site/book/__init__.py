"""The site's parts: what is executed, what is generated, how Sphinx reads it, and how the result is checked."""
