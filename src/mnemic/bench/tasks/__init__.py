"""One file a task; the file name is the task's name on the command line."""
