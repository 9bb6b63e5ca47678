"""The command line: one file a command, each thin: parse, call the room that does it, print."""
