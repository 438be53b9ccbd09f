"""Last layers trained together on features that are computed once: the short way through a study of images."""
