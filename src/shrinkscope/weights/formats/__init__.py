"""Files and packings: each format one module, each tensor a view that is read in windows."""
