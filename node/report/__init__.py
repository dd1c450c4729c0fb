"""What a finding looks like: run folders, branch pages, pictures, JSON. Pure text rendering."""
