-- Health of Tenants, SendingPools and TrafficShapes for Argo CD. Their status is shaped for kstatus: observedGeneration,
-- Ready, and Reconciling, Stalled and Paused only while True. Lua 5.1, as Argo CD runs it.
local hs = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil then
  return hs
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(type, status)
  return conditions[type] ~= nil and conditions[type].status == status
end

local function answer(status, type)
  hs.status = status
  hs.message = conditions[type].message
  return hs
end

-- The operator keeps away from what is paused, hence from its generation, too.
if is("Paused", "True") then
  return answer("Suspended", "Paused")
end
if obj.status.observedGeneration == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
if is("Stalled", "True") then
  return answer("Degraded", "Stalled")
end
if is("Ready", "True") then
  return answer("Healthy", "Ready")
end
if is("Reconciling", "True") then
  return answer("Progressing", "Reconciling")
end
if is("Ready", "False") then
  return answer("Degraded", "Ready")
end
if is("Ready", "Unknown") then
  return answer("Progressing", "Ready")
end
return hs
