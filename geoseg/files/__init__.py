"""Files and folders that appear whole or not at all, and the locks that keep runs apart."""
