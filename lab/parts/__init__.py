"""What every folder of the lab uses: processes, Envoy, application, load, record; a change may touch all of them."""
