return { default = { pattern = "_spec", lpath = "", verbose = true } }
