"""Side by side with what is installed here: the figures behind every promise about speed.

`run(case, options)` measures; `encode(result)` is its JSON, `render(result)` its table.
"""
