"""Random shapes of Envoy and of its traffic: does the helper ever leave while something is served?"""
