"""`dsnotes new-paper STEM`: what it writes (the .txt files here), where, and when it refuses."""
