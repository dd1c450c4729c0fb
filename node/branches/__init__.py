"""Branches between peers: told with a signature, given by git's own upload-pack, fetched, checked, kept in quotas."""
