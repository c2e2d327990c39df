# What is shipped.
