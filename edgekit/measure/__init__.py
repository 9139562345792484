"""One measurement from deploy to samples, and what can be said of the samples.

`session.measure` takes it, `stats` reads it, `runner` speaks with what runs on the device.
"""
