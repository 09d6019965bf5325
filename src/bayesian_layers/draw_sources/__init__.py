"""Where the draws of a posterior come from: a guide, stored draws, or one of these pruned."""
