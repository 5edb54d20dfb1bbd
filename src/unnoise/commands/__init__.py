"""The commands, each a thin function: parse, call, print. What one runs is imported inside it."""
