"""Random shapes of Envoy and its traffic: is anything served when the helper exits?

A change touches this folder only.
"""
