"""The command line: `main` is the entry, `commands` lists the commands, one file each does them."""
