"""What is thrown at the package: python tests/hostile/run.py prints how much of it was survived."""
