"""The study of the paper, reproduced: LEEP against transfer (Nguyen et al., ICML 2020)."""
