"""What is remembered: state.db and the content-addressed objects."""
