"""The life of a task: `lifecycle` has the whole sequence, the other modules its parts."""
