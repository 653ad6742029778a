"""What `train_demo_model.py` is made of: words, voices, signals, clips, network.

Nothing here knows of the server, and the server imports nothing from here.
"""
