"""Who does the work: one running participant, its loop, its trials, its results, its command line."""
