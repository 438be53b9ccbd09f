"""How the loss bends around the weights: eigenvalues, traces, gradients and quadratic forms, each with its error."""
