"""ECS and Cloud Map as the lab plays them; a change needs a measured fact about AWS, and touches no scenario."""
