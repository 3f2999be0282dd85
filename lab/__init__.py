"""The lab: real Envoys, applications and helpers in scenarios; a change to it touches nothing that is shipped."""
