"""What can be known of a job before anything is taken: its file, its data, what it needs. Imports the api alone."""
