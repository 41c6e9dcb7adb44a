"""What every room builds on: names, parameters, numbers, files, signals; nothing of the field."""
