"""What the project costs, with the command that measures it: `make bench`."""
