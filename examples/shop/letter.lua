-- The text of a confirmation. Loaded by letters.c, which calls write for every order.
local terms = {}
for i = 1, 120 do terms[i] = ("%d. Article %d of our terms holds for this order, as it did for the last."):format(i, i * 7 % 121) end

-- SEEDED DEFECT 6 (script): the letter grows by one line at a time, and every `..` copies all that is there already.
-- table.concat would copy each line once.
local function with_terms(text)
  for _, line in ipairs(terms) do text = text .. line .. "\n" end
  return text
end

local function address_of(order)
  if order % 40 == 0 then error("the customer has moved") end
  return ("Customer %d\n"):format(order * 31 % 1000)
end

local letter = {}

function letter.write(order, name, quantity, cents)
  local text = address_of(order) .. ("You ordered %d of %s for %.2f.\n"):format(quantity, name, cents / 100)
  return with_terms(text)
end

return letter
