"""Commands that take minutes: what the course runs once, so that its pages can show it."""
