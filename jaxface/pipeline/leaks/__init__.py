"""Images and identities of a test set in a training set: by pixels, hashes, names and faces."""
