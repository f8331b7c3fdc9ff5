-- Sends our results, and nothing else, on to the PACS.
function OnStoredInstance(instanceId, tags, metadata)
  if tags['Manufacturer'] == 'Kidney Tumor Identification System' then
    SendToModality(instanceId, 'pacs')
  end
end
