"""`dsnotes new-paper STEM`: writes the files of a new paper from the templates (.txt) here."""
