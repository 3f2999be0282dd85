"""The life of a task: `lifecycle` is the story, the others its parts."""
