"""The part of the house style that no linter knows, as checks over the syntax tree."""
