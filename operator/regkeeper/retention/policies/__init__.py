"""What is asked for: rules, patterns, references, and the images in use."""
