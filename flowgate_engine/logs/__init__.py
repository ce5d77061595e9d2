"""Reading the logs that keepers write: the last lines, since when, as they come; always safe to show."""
